// Package gitops runs what Argo CD and Flux run over a Rollout.
package gitops

import (
	"context"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Longest that Argo CD lets a script run.
const atMost = time.Second

// run runs a script as Argo CD runs those of its configuration: the object is the global obj, and of Lua's libraries
// there are only the base, tables, and the time. Its value is that of the script.
func run(script string, object map[string]any) (any, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.OsLibName: openTime,
	} {
		call := lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script gives a %s, not a table", state.Get(-1).Type())
	}
	return fromLua(table), nil
}

// openTime is all that is left of the library os.
func openTime(state *lua.LState) int {
	state.RegisterModule(lua.OsLibName, map[string]lua.LGFunction{
		"time": func(state *lua.LState) int {
			state.Push(lua.LNumber(time.Now().Unix()))
			return 1
		},
	})
	return 1
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for name, item := range value {
			table.RawSetString(name, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}

// fromLua reads a value back. Lua knows no difference between an empty list and an empty object: both are a list.
func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LBool:
		return bool(value)
	case lua.LNumber:
		return float64(value)
	case lua.LString:
		return string(value)
	case *lua.LTable:
		return fromTable(value)
	}
	return nil
}

func fromTable(table *lua.LTable) any {
	list, object := []any{}, map[string]any{}
	table.ForEach(func(name, item lua.LValue) {
		if name.Type() == lua.LTNumber {
			list = append(list, fromLua(item))
		} else {
			object[name.String()] = fromLua(item)
		}
	})
	if len(object) > 0 {
		return object
	}
	return list
}

// read gives the text of a file of this folder.
func read(path string) (string, error) {
	text, err := os.ReadFile(path)
	return string(text), err
}
