"""Demonstrations chosen for each item out of those of a plan.

What a plan says of it is here; what does it (`choose.py`, `parts.py`) comes with the first call.
"""

from mtiprompt.selection.select import Select as Select
