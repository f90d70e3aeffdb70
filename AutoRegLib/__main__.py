"""``python -m AutoRegLib``: the command line."""

from AutoRegLib.app.cli import main

raise SystemExit(main())
