"""Reports: one HTML file that opens without a network, and the same figures as plain values."""

from mtiprompt.report.comparison import parts_of as parts_of
from mtiprompt.report.comparison import table_of as table_of
from mtiprompt.report.page import write_page as write_page
from mtiprompt.report.parts import Chart as Chart
from mtiprompt.report.parts import Part as Part
from mtiprompt.report.parts import Series as Series
from mtiprompt.report.parts import SlotRow as SlotRow
from mtiprompt.report.parts import Slots as Slots
from mtiprompt.report.parts import Table as Table
from mtiprompt.report.parts import Text as Text
