"""Reply text to one JSON object, or to one for each item."""

from mtiprompt.reading.choose import SCAN_CAP as SCAN_CAP
from mtiprompt.reading.choose import Reading as Reading
from mtiprompt.reading.choose import Readings as Readings
from mtiprompt.reading.choose import read_items as read_items
from mtiprompt.reading.choose import read_object as read_object
from mtiprompt.reading.values import with_digits as with_digits
