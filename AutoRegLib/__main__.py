"""``python -m AutoRegLib``: the command line."""

from AutoRegLib.cli import main

raise SystemExit(main())
