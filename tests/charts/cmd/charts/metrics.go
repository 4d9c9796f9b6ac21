package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// family is one metric of an exposition in Prometheus' text format or in OpenMetrics.
type family struct {
	name, kind, help string
	labels           []string
}

var (
	sample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)
	label  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)
)

// metrics prints a table of families for each section: name, kind, labels, help.
func metrics(sections []string) error {
	for _, section := range sections {
		name, file, ok := strings.Cut(section, "=")
		if !ok {
			return fmt.Errorf("write NAME=FILE, not %q", section)
		}
		families, err := exposition(file)
		if err != nil {
			return err
		}
		if len(families) == 0 {
			return fmt.Errorf("%s has no metrics", file)
		}
		fmt.Printf("## %s\n\n| name | type | labels | what it is |\n|---|---|---|---|\n", name)
		for _, one := range families {
			fmt.Println(one.row())
		}
		fmt.Println()
	}
	return nil
}

func (f family) row() string {
	var labels []string
	for _, label := range f.labels {
		labels = append(labels, "`"+label+"`")
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", f.name, f.kind, strings.Join(labels, ", "), strings.TrimSuffix(f.help, "."))
}

func exposition(file string) ([]*family, error) {
	text, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	var families []*family
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if families, err = line(families, lines.Text()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return families, lines.Err()
}

// line reads one line of an exposition into the families so far.
func line(families []*family, text string) ([]*family, error) {
	words := strings.SplitN(text, " ", 4)
	switch {
	case len(words) == 4 && words[0] == "#" && (words[1] == "HELP" || words[1] == "TYPE"):
		one := named(families, words[2])
		if one == nil {
			one = &family{name: words[2]}
			families = append(families, one)
		}
		if words[1] == "HELP" {
			one.help = words[3]
		} else {
			one.kind = words[3]
		}
	case !strings.HasPrefix(text, "#"):
		found := sample.FindStringSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("no sample: %q", text)
		}
		one := of(families, found[1])
		if one == nil {
			return nil, fmt.Errorf("%s has neither type nor help", found[1])
		}
		one.add(found[2])
	}
	// A counter of OpenMetrics is named without the _total that its samples have.
	for _, one := range families {
		if one.kind == "counter" && !strings.HasSuffix(one.name, "_total") {
			one.name += "_total"
		}
	}
	return families, nil
}

func named(families []*family, name string) *family {
	for _, one := range families {
		if one.name == name || one.name == name+"_total" {
			return one
		}
	}
	return nil
}

// of finds the family of a sample.
func of(families []*family, name string) *family {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count", "_total"} {
		if one := named(families, strings.TrimSuffix(name, suffix)); one != nil && strings.HasSuffix(name, suffix) {
			return one
		}
	}
	return nil
}

func (f *family) add(labels string) {
	for _, found := range label.FindAllStringSubmatch(labels, -1) {
		if name := found[1]; name != "le" && !slices.Contains(f.labels, name) {
			f.labels = append(f.labels, name)
		}
	}
}
