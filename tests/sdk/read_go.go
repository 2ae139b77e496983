// Reads published lines with the CloudEvents SDK for Go and validates them; prints what lines.py
// prints.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var e event.Event
		check(json.Unmarshal(lines.Bytes(), &e))
		check(e.Validate())
		attributes := map[string]any{
			"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type(),
			"time":            e.Time().UTC().Format("2006-01-02T15:04:05.000Z"),
			"datacontenttype": e.DataContentType()}
		if e.Subject() != "" {
			attributes["subject"] = e.Subject()
		}
		for name, value := range e.Extensions() {
			attributes[name] = value
		}
		var data any = base64.StdEncoding.EncodeToString(e.Data())
		if strings.Contains(e.DataContentType(), "json") && !e.DataBase64 {
			data = json.RawMessage(e.Data())
			check(json.Unmarshal(e.Data(), &data))
		}
		check(out.Encode(map[string]any{"attributes": attributes, "data": data}))
	}
	check(lines.Err())
}
