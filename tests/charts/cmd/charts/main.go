// Command charts holds what the tests of the chart and of the dashboards do with objects, series and queries.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: charts same LEFT.yaml RIGHT.yaml
       charts query URL NAMESPACE/ROLLOUT FILE…
       charts metrics NAME=EXPOSITION…
       charts client <RECORD

same     whether two streams say the same of the objects of Penstock; what helm adds, and Namespaces, left aside
query    runs every query of dashboards (.json) and of rules (.yaml) on the Prometheus at URL; each has to give data
metrics  the reference of all series, as Markdown, of what runs: one section for each NAME
client   counts what a client's record tells: requests, failed ones, and those of each version
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("nothing to do\n%s", usage)
	}
	command, rest := arguments[0], arguments[1:]
	switch {
	case command == "same" && len(rest) == 2:
		return same(rest[0], rest[1])
	case command == "query" && len(rest) >= 3:
		return query(rest[0], rest[1], rest[2:])
	case command == "metrics" && len(rest) >= 1:
		return metrics(rest)
	case command == "client" && len(rest) == 0:
		return client(os.Stdin)
	}
	return fmt.Errorf("unknown words\n%s", usage)
}
