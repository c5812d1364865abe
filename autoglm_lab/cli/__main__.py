"""`python -m autoglm_lab.cli`."""

import sys

from autoglm_lab.cli import main

sys.exit(main())
