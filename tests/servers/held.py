"""Holds a server of its own until it is ended from outside; says the server's URL and folder."""

import json
import sys

from tests.servers.postgres import OwnPostgresServer

with OwnPostgresServer() as server:
    sys.stdout.write(json.dumps({"url": server.url(), "folder": str(server.folder)}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
