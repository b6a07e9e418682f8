"""`python -m sandbox`, the same as dev/gateway."""

import sys

from .cli import main

sys.exit(main())
