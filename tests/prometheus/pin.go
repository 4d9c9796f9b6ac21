//go:build pin

// Package pin keeps the commands of Prometheus among the requirements of this module.
package pin

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
