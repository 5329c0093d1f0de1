"""`python -m retable` is `bench`."""

import sys

from retable.bench.cli.main import main

sys.exit(main())
