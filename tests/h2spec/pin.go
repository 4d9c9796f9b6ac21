//go:build pin

// Package pin keeps the command of h2spec among the requirements of this module.
package pin

import _ "github.com/summerwind/h2spec/cmd/h2spec"
