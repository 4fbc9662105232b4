"""Lets ``python -m arvados_fuse.standalone`` do the same as ``arv-standalone``."""

import sys

from arvados_fuse.standalone.cli import main

sys.exit(main())
