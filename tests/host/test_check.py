"""``alerthost check``: what is well, what is not, and that nobody is ever paged."""

from __future__ import annotations

