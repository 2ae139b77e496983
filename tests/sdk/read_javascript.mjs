// Reads published lines with the CloudEvents SDK for JavaScript, as structured HTTP messages,
// and validates them strictly; prints what lines.py prints.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { HTTP } = createRequire(process.env.SDK_FOLDER + "/")("cloudevents");

function sorted(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(sorted);
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
}

for (const line of readFileSync(0, "utf8").split("\n")) {
  if (line === "") continue;
  const headers = { "content-type": "application/cloudevents+json; charset=utf-8" };
  const event = HTTP.toEvent({ headers, body: line });
  event.validate();
  const { data, data_base64, ...attributes } = event.toJSON();
  let shown = data;
  if (data_base64 !== undefined) shown = data_base64;
  else if (!attributes.datacontenttype.includes("json"))
    shown = Buffer.from(data).toString("base64");
  console.log(JSON.stringify(sorted({ attributes, data: shown })));
}
