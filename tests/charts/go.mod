// What the tests of the chart need to read objects and to ask Prometheus. A module of its own, pinned by go.sum.
module penstock.dev/tests/charts

go 1.26.0

require sigs.k8s.io/yaml v1.6.0

require go.yaml.in/yaml/v2 v2.4.2 // indirect
