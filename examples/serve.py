"""Start the server of a run, ask it about a row, stop it: python examples/serve.py runs/mine"""

import json
import re
import subprocess
import sys
from urllib.request import Request, urlopen

folder = sys.argv[1]
command = [sys.executable, "-m", "eulernet.serve", f"run={folder}", "port=0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    assert server.stdout is not None
    try:
        started = re.search(r"http://\S+:\d+", server.stdout.readline())
        assert started is not None, "the server did not start; its error is above"
        address = started[0]
        columns = json.load(urlopen(f"{address}/metadata"))["fields"]
        row = {column["name"]: None for column in columns}  # null is a missing value; your values go here
        body = json.dumps([row]).encode()
        answer = json.load(urlopen(Request(f"{address}/predict", body, {"Content-Type": "application/json"})))
        print(", ".join(column["name"] for column in columns), "->", answer)
    finally:
        server.terminate()
