package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

// Labels and annotations that helm's objects have beside those of `penstock install`.
var helms = []string{
	"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart", "helm.sh/resource-policy",
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// same compares two streams object by object, and tells of each field that differs.
func same(left, right string) error {
	lefts, err := read(left)
	if err != nil {
		return err
	}
	rights, err := read(right)
	if err != nil {
		return err
	}
	var differences []string
	for _, name := range names(lefts, rights) {
		differences = append(differences, compare(name, plain(lefts[name]), plain(rights[name]))...)
	}
	if len(lefts) == 0 || len(differences) > 0 {
		return fmt.Errorf("%d objects, %d differences (- %s, + %s)\n%s", len(lefts), len(differences), left, right,
			strings.Join(differences, "\n"))
	}
	fmt.Printf("the same %d objects\n", len(lefts))
	return nil
}

// read gives the objects of a file by kind, namespace and name, but for Namespaces.
func read(file string) (map[string]object, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	objects := map[string]object{}
	for _, document := range separator.Split(string(text), -1) {
		var one object
		if err := yaml.Unmarshal([]byte(document), &one); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(one) == 0 || one["kind"] == "Namespace" {
			continue
		}
		metadata := within(one, "metadata")
		name := fmt.Sprintf("%v %v/%v", one["kind"], metadata["namespace"], metadata["name"])
		if objects[name] != nil {
			return nil, fmt.Errorf("%s: %s is there twice", file, name)
		}
		objects[name] = one
	}
	return objects, nil
}

func names(all ...map[string]object) []string {
	var names []string
	for _, objects := range all {
		for name := range objects {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plain takes away what helm adds.
func plain(one object) object {
	metadata := within(one, "metadata")
	for _, field := range []string{"labels", "annotations"} {
		for _, name := range helms {
			delete(within(metadata, field), name)
		}
		if len(within(metadata, field)) == 0 {
			delete(metadata, field)
		}
	}
	if rules, ok := one["rules"].([]any); ok {
		slices.SortFunc(rules, func(a, b any) int { return bytes.Compare(text(a), text(b)) })
	}
	return one
}

func within(one object, field string) object {
	inner, _ := one[field].(object)
	return inner
}

func text(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// compare tells of each field that differs, by its path.
func compare(path string, left, right any) []string {
	if bytes.Equal(text(left), text(right)) {
		return nil
	}
	lefts, ok := left.(object)
	rights, too := right.(object)
	if !ok || !too || len(lefts) == 0 || len(rights) == 0 {
		return []string{fmt.Sprintf("%s\n  - %.300s\n  + %.300s", path, text(left), text(right))}
	}
	var fields, all []string
	for field := range lefts {
		fields = append(fields, field)
	}
	for field := range rights {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	for _, field := range slices.Compact(fields) {
		all = append(all, compare(path+"."+field, lefts[field], rights[field])...)
	}
	return all
}
