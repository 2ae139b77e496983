# Reads published lines with the CloudEvents SDK for Python; prints what lines.py prints.
import base64
import json
import sys

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

for line in sys.stdin.buffer:
    event = JSONFormat().read(CloudEvent, line)
    attributes = dict(event.get_attributes())
    attributes["time"] = event.get_time().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    data = event.get_data()
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    elif "json" not in event.get_datacontenttype():
        data = base64.b64encode(data.encode()).decode()
    print(json.dumps({"attributes": attributes, "data": data}, sort_keys=True,
                     ensure_ascii=False, separators=(",", ":")))
