package gitops

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const scripts = "argocd/penstock.dev/Rollout/"

// What the tools are to make of each status that was recorded.
var expected = map[string]struct {
	argo    string
	flux    status.Status
	actions string
}{
	"unseen":          {"Progressing", status.InProgressStatus, ""},
	"outdated":        {"Progressing", status.InProgressStatus, ""},
	"deploying":       {"Progressing", status.InProgressStatus, ""},
	"stable":          {"Healthy", status.CurrentStatus, ""},
	"progressing":     {"Progressing", status.InProgressStatus, "abort pause promote promote-full"},
	"held":            {"Progressing", status.InProgressStatus, "abort pause promote promote-full"},
	"paused-by-order": {"Suspended", status.InProgressStatus, "abort promote promote-full resume"},
	"paused-by-step":  {"Suspended", status.InProgressStatus, "abort pause promote promote-full"},
	"aborted":         {"Degraded", status.FailedStatus, "retry"},
	"stalled":         {"Degraded", status.FailedStatus, ""},
	"invalid":         {"Degraded", status.FailedStatus, ""},
}

func TestEveryRecordedStatusIsExpected(t *testing.T) {
	var recorded []string
	files, err := filepath.Glob("fixtures/*.yaml")
	must(t, err)
	for _, file := range files {
		recorded = append(recorded, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	if all := slices.Sorted(maps.Keys(expected)); !slices.Equal(all, recorded) {
		t.Fatalf("expected %v, recorded %v", all, recorded)
	}
}

func TestArgoTellsTheHealth(t *testing.T) {
	each(t, func(t *testing.T, name string, object map[string]any) {
		health := table(t, "health.lua", object)
		if health["status"] != expected[name].argo {
			t.Errorf("%v instead of %s", health, expected[name].argo)
		}
		if message, _ := health["message"].(string); message == "" {
			t.Error("it doesn't say why")
		}
	})
}

func TestArgoOffersTheActionsThatMakeSense(t *testing.T) {
	each(t, func(t *testing.T, name string, object map[string]any) {
		var offered []string
		for action, how := range table(t, "actions/discovery.lua", object) {
			if how.(map[string]any)["disabled"] == false {
				offered = append(offered, action)
			}
		}
		slices.Sort(offered)
		if all := strings.Join(offered, " "); all != expected[name].actions {
			t.Errorf("it offers %q instead of %q", all, expected[name].actions)
		}
	})
}

func TestEveryActionAddsItsOrderAndChangesNothingElse(t *testing.T) {
	each(t, func(t *testing.T, name string, object map[string]any) {
		for action := range table(t, "actions/discovery.lua", object) {
			after := table(t, "actions/"+action+"/action.lua", object)
			annotations, _ := after["metadata"].(map[string]any)["annotations"].(map[string]any)
			if reason, ok := annotations["penstock.dev/"+action].(string); !ok || reason == "" {
				t.Errorf("%s leaves %v", action, annotations)
			}
			delete(annotations, "penstock.dev/"+action)
			if !same(object, after) {
				t.Errorf("%s changes more than its annotation", action)
			}
		}
	})
}

func TestAnActionWorksWhereThereAreNoAnnotations(t *testing.T) {
	bare := map[string]any{"metadata": map[string]any{"name": "checkout"}}
	after := table(t, "actions/abort/action.lua", bare)
	if text := fmt.Sprint(after); !strings.Contains(text, "penstock.dev/abort:") {
		t.Error(text)
	}
}

func TestFluxTellsTheStatus(t *testing.T) {
	each(t, func(t *testing.T, name string, object map[string]any) {
		result, err := status.Compute(&unstructured.Unstructured{Object: object})
		must(t, err)
		if result.Status != expected[name].flux {
			t.Errorf("%s (%s) instead of %s", result.Status, result.Message, expected[name].flux)
		}
	})
}

// What a person copies out of the documentation is what was tested.
func TestTheDocumentationHasTheSameScripts(t *testing.T) {
	files := map[string]string{"health": "health.lua"}
	configuration := block(t, "../../docs/argocd.md", "resource.customizations.health.penstock.dev_Rollout:")
	data := configuration["data"].(map[string]any)
	health := data["resource.customizations.health.penstock.dev_Rollout"].(string)
	equal(t, files["health"], health)

	var actions map[string]any
	text := data["resource.customizations.actions.penstock.dev_Rollout"].(string)
	must(t, yaml.Unmarshal([]byte(text), &actions))
	equal(t, "actions/discovery.lua", actions["discovery.lua"].(string))
	var defined []string
	for _, definition := range actions["definitions"].([]any) {
		definition := definition.(map[string]any)
		name := definition["name"].(string)
		defined = append(defined, name)
		equal(t, "actions/"+name+"/action.lua", definition["action.lua"].(string))
	}
	offered := slices.Sorted(maps.Keys(table(t, "actions/discovery.lua", map[string]any{})))
	slices.Sort(defined)
	if !slices.Equal(defined, offered) {
		t.Errorf("defined are %v, offered %v", defined, offered)
	}
}

func each(t *testing.T, check func(t *testing.T, name string, object map[string]any)) {
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		t.Run(name, func(t *testing.T) {
			text, err := read("fixtures/" + name + ".yaml")
			must(t, err)
			text2, err := yaml.YAMLToJSON([]byte(text))
			must(t, err)
			var object unstructured.Unstructured
			must(t, object.UnmarshalJSON(text2))
			check(t, name, object.Object)
		})
	}
}

// table runs a script, which is to give an object.
func table(t *testing.T, script string, object map[string]any) map[string]any {
	t.Helper()
	text, err := read(scripts + script)
	must(t, err)
	value, err := run(text, object)
	must(t, err)
	table, ok := value.(map[string]any)
	if !ok {
		t.Fatalf("%s gives %v", script, value)
	}
	return table
}

// same compares what is left when empty lists and objects are one, and numbers have one type.
func same(left, right any) bool {
	return reflect.DeepEqual(plain(left), plain(right))
}

func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		all := map[string]any{}
		for name, item := range value {
			if item := plain(item); item != nil {
				all[name] = item
			}
		}
		if len(all) > 0 {
			return all
		}
	case []any:
		var all []any
		for _, item := range value {
			all = append(all, plain(item))
		}
		if len(all) > 0 {
			return all
		}
	case int64:
		return float64(value)
	default:
		return value
	}
	return nil
}

// block gives the YAML block of a document that has a text in it.
func block(t *testing.T, document, within string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(document)
	must(t, err)
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		part, _, _ = strings.Cut(part, "```")
		if strings.Contains(part, within) {
			var value map[string]any
			must(t, yaml.Unmarshal([]byte(part), &value))
			return value
		}
	}
	t.Fatalf("%s has no block with %s", document, within)
	return nil
}

func equal(t *testing.T, file, text string) {
	t.Helper()
	script, err := read(scripts + file)
	must(t, err)
	if script != text {
		t.Errorf("%s is not as documented:\n%s", file, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
