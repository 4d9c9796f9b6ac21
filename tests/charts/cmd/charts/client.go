package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// exchange is one request that has ended, as penstock-test-client tells of it.
type exchange struct {
	Sent   int64 `json:"sent"`
	Answer struct {
		Ok  []any  `json:"Ok"`
		Err string `json:"Err"`
	} `json:"answer"`
}

// client prints `requests failed versions`, and after that a line for each kind of failure.
func client(from io.Reader) error {
	var record []exchange
	if err := json.NewDecoder(from).Decode(&record); err != nil {
		return fmt.Errorf("the client's record: %w", err)
	}
	failures, versions, failed := map[string]int{}, map[string]int{}, 0
	for _, one := range record {
		why := one.Answer.Err
		if len(one.Answer.Ok) == 2 {
			version, status := fmt.Sprint(one.Answer.Ok[0]), one.Answer.Ok[1]
			versions[version]++
			if status, ok := status.(float64); ok && status < 500 {
				continue
			}
			why = fmt.Sprintf("%v of %s", status, version)
		}
		failed++
		failures[why]++
	}
	fmt.Printf("%d %d", len(record), failed)
	for _, version := range slices.Sorted(maps.Keys(versions)) {
		fmt.Printf(" %s=%d", version, versions[version])
	}
	fmt.Println()
	for _, why := range slices.Sorted(maps.Keys(failures)) {
		fmt.Printf("  %d × %s\n", failures[why], why)
	}
	return nil
}
