"""The reply cache: looking up is a model around a model; storing is done once a reply validates."""

from mtiprompt.models.cache.check import CacheCheck as CacheCheck
from mtiprompt.models.cache.check import CacheStats as CacheStats
from mtiprompt.models.cache.entry import SLOT as SLOT
from mtiprompt.models.cache.model import CachedModel as CachedModel
from mtiprompt.models.cache.replies import ReplyCache as ReplyCache

__all__ = ["SLOT", "CacheCheck", "CacheStats", "CachedModel", "ReplyCache"]
