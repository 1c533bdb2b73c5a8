"""The logger that users set the level of, as `dispy.logger`.

Floor 0. Nothing is configured on import; the level constants are attributes, as programs for dispy
expect (`loglevel=dispy.logger.DEBUG`).
"""

from __future__ import annotations

import logging

logger = logging.getLogger("gdispy")
for _name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
    setattr(logger, _name, getattr(logging, _name))
