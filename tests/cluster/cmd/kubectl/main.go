// Command kubectl is a program of its own, unlike the others: scripts start it thousands of times, and a start takes
// half as long without all that the servers set up for themselves.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	// Errors are shown in its own form, and end the process with its own exit codes.
	util.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
}
