# What published lines say, by a plain JSON parser: one normalised object per line. The readers
# beside this file print the same by means of a CloudEvents SDK; the two must agree.
import base64
import json
import sys

for line in sys.stdin:
    event = json.loads(line)
    data = event.pop("data", None)
    if "data_base64" in event:
        data = event.pop("data_base64")
    elif "json" not in event["datacontenttype"]:
        data = base64.b64encode(data.encode()).decode()
    print(json.dumps({"attributes": event, "data": data}, sort_keys=True,
                     ensure_ascii=False, separators=(",", ":")))
