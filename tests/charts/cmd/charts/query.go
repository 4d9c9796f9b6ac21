package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// question is one query, and where it stands.
type question struct{ where, query string }

// variables is what Grafana puts in place of its variables: one Rollout where one is selected, elsewhere all.
func variables(namespace, rollout string) *strings.Replacer {
	return strings.NewReplacer(
		`="$namespace"`, `="`+namespace+`"`, `="$rollout"`, `="`+rollout+`"`,
		"$namespace", ".*", "$rollout", ".*", "$instance", ".*", "$__rate_interval", "1m",
	)
}

// What an alert fires on, and what a panel shows where there is nothing: the series are there without it.
var (
	bound   = regexp.MustCompile(`\s*(==|!=|>=|<=|>|<)\s*[0-9.]+\s*$`)
	unless  = regexp.MustCompile(`\n\s*unless [^\n]*`)
	instead = regexp.MustCompile(` or vector\(0\)$`)
	name    = regexp.MustCompile(`penstock_[a-z_]+`)
)

// query runs all queries of the files, and names each that gives no data. A dashboard of one Rollout shows that one.
func query(address, rollout string, files []string) error {
	var all []question
	namespace, name, _ := strings.Cut(rollout, "/")
	selected := variables(namespace, name)
	for _, file := range files {
		found, err := questions(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if len(found) == 0 {
			return fmt.Errorf("%s has no queries", file)
		}
		for _, one := range found {
			all = append(all, question{one.where, instead.ReplaceAllString(selected.Replace(one.query), "")})
		}
	}
	all = withNames(all)
	var empty []string
	for _, one := range all {
		series, err := ask(address, one.query)
		if err == nil && series > 0 {
			continue
		}
		why := "no data"
		if err != nil {
			why = err.Error()
		}
		empty = append(empty, fmt.Sprintf("%s: %s\n    %s", one.where, why, one.query))
	}
	if len(empty) > 0 {
		return fmt.Errorf("%d of %d queries give nothing\n%s", len(empty), len(all), strings.Join(empty, "\n"))
	}
	fmt.Printf("%d queries, all with data\n", len(all))
	return nil
}

// withNames asks for each metric that queries name, apart: a condition may hide that one is not there.
func withNames(all []question) []question {
	var more []question
	seen := map[string]bool{}
	for _, one := range all {
		for _, metric := range name.FindAllString(one.query, -1) {
			if !seen[metric] {
				seen[metric] = true
				more = append(more, question{one.where, metric})
			}
		}
	}
	return append(all, more...)
}

func questions(file string) ([]question, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(file) == ".json" {
		return ofDashboard(file, text)
	}
	return ofRules(file, text)
}

type panel struct {
	Title   string `json:"title"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

type dashboard struct {
	Panels      []panel `json:"panels"`
	Annotations struct {
		List []struct {
			Name string `json:"name"`
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

var values = regexp.MustCompile(`^label_values\((.*),\s*[a-z_]+\)$`)

func ofDashboard(file string, text []byte) ([]question, error) {
	var one dashboard
	if err := json.Unmarshal(text, &one); err != nil {
		return nil, err
	}
	var all []question
	for _, panel := range flat(one.Panels) {
		for _, target := range panel.Targets {
			all = append(all, question{file + ": " + panel.Title, target.Expr})
		}
	}
	for _, annotation := range one.Annotations.List {
		if annotation.Expr != "" {
			all = append(all, question{file + ": " + annotation.Name, annotation.Expr})
		}
	}
	for _, variable := range one.Templating.List {
		if variable.Type != "query" {
			continue
		}
		found := values.FindStringSubmatch(variable.Definition)
		if found == nil {
			return nil, fmt.Errorf("the variable %s is no label_values(…)", variable.Name)
		}
		all = append(all, question{file + ": $" + variable.Name, found[1]})
	}
	return all, nil
}

func flat(panels []panel) []panel {
	var all []panel
	for _, one := range panels {
		all = append(all, one)
		all = append(all, flat(one.Panels)...)
	}
	return all
}

// ofRules gives the series behind each alert: an alert that does not fire has no data by nature.
func ofRules(file string, text []byte) ([]question, error) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert  string            `json:"alert"`
				Expr   string            `json:"expr"`
				Labels map[string]string `json:"labels"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		return nil, err
	}
	var all []question
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			parts := strings.Split(rule.Expr, "\nor\n")
			for _, part := range parts {
				all = append(all, question{file + ": " + rule.Alert, series(part)})
			}
			for _, metric := range name.FindAllString(rule.Expr, -1) {
				all = append(all, question{file + ": " + rule.Alert, metric})
			}
		}
	}
	return all, nil
}

// series takes the condition off an expression.
func series(expression string) string {
	expression = strings.TrimSpace(expression)
	if inner, ok := strings.CutPrefix(expression, "absent("); ok {
		return strings.TrimSuffix(inner, ")")
	}
	return unless.ReplaceAllString(bound.ReplaceAllString(expression, ""), "")
}

// ask gives the number of series with a number in them.
func ask(address, expression string) (int, error) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(address + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Value []any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, fmt.Errorf("%s", answer.Error)
	}
	numbers := 0
	for _, series := range answer.Data.Result {
		if len(series.Value) == 2 && series.Value[1] != "NaN" {
			numbers++
		}
	}
	return numbers, nil
}
