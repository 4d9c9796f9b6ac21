// Command image packs one static binary as an OCI image archive, which `ctr images import` and with-cluster read.
//
// For machines without an image builder. The same input gives the same bytes: no times, no names of users or folders.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const usage = `usage: image OUT.tar NAME:TAG BINARY [FILE:PATH]…

Packs the static binary BINARY as a container image. It becomes the entrypoint /NAME, where NAME is the last part of
the image's name, and runs as user 65532. The certificates of this machine's CAs go with it, and each FILE to PATH.
NAME names its registry, for instance localhost/penstock:test: a cluster takes "penstock" for docker.io/library/penstock.
`

const certificates = "/etc/ssl/certs/ca-certificates.crt"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func pack(out, image, binary string, extra []string) error {
	name, err := parse(image)
	if err != nil {
		return err
	}
	if err := static(binary); err != nil {
		return err
	}
	files, err := gather(name.program, binary, extra)
	if err != nil {
		return err
	}
	layer, err := archive(files)
	if err != nil {
		return err
	}
	whole, err := wrap(name, layer)
	if err != nil {
		return err
	}
	return replace(out, whole)
}

// Puts the content in place as a whole: who reads OUT meanwhile sees the old file or the new one.
func replace(out string, content []byte) error {
	part := fmt.Sprintf("%s.%d", out, os.Getpid())
	defer os.Remove(part) // there only after an error
	if err := os.WriteFile(part, content, 0o644); err != nil {
		return err
	}
	return os.Rename(part, out)
}

// The name of an image: full is all of it, program the last part without the tag.
type imageName struct{ full, program, tag string }

var form = regexp.MustCompile(`^((?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::[0-9]+)?(?:/[a-z0-9._-]+)*/([a-z0-9._-]+)):([\w][\w.-]{0,127})$`)

func parse(image string) (imageName, error) {
	found := form.FindStringSubmatch(image)
	if found == nil {
		return imageName{}, fmt.Errorf("%q is no full name of an image: write it like localhost/penstock:test", image)
	}
	return imageName{full: image, program: found[2], tag: found[3]}, nil
}

// The image has no loader and no libraries: a dynamic binary would fail with "no such file or directory".
func static(binary string) error {
	file, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	defer file.Close()
	for _, header := range file.Progs {
		if header.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0 or -C target-feature=+crt-static", binary)
		}
	}
	return nil
}

type file struct {
	path    string // without the leading slash
	mode    int64
	content []byte
}

func gather(program, binary string, extra []string) ([]file, error) {
	sources := [][2]string{{binary, program}}
	if _, err := os.Stat(certificates); err == nil {
		sources = append(sources, [2]string{certificates, strings.TrimPrefix(certificates, "/")})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, pair := range extra {
		source, target, ok := strings.Cut(pair, ":")
		inside := strings.TrimPrefix(path.Clean("/"+target), "/")
		if !ok || inside == "" {
			return nil, fmt.Errorf("%q is not of the form FILE:PATH", pair)
		}
		sources = append(sources, [2]string{source, inside})
	}
	var files []file
	for _, source := range sources {
		next, err := read(source[0], source[1])
		if err != nil {
			return nil, err
		}
		files = append(files, next)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for i := 1; i < len(files); i++ {
		if files[i].path == files[i-1].path {
			return nil, fmt.Errorf("/%s is given twice", files[i].path)
		}
	}
	return files, nil
}

func read(source, target string) (file, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return file{}, err
	}
	info, err := os.Stat(source)
	if err != nil {
		return file{}, err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return file{target, mode, content}, nil
}

func archive(files []file) ([]byte, error) {
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, f := range files {
		header := tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatPAX}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("/%s: %w", f.path, err)
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := writer.Close()
	return out.Bytes(), err
}

// Wraps one layer as an image layout: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
func wrap(name imageName, layer []byte) ([]byte, error) {
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": object{
			"Entrypoint": []string{"/" + name.program},
			"Env":        []string{"PATH=/"},
			"User":       "65532:65532",
			"WorkingDir": "/",
			"Labels": object{
				"org.opencontainers.image.title":   name.program,
				"org.opencontainers.image.version": name.tag,
			},
		},
		"rootfs": object{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        pointer("config.v1+json", config),
		"layers":        []object{pointer("layer.v1.tar", layer)},
	})
	if err != nil {
		return nil, err
	}
	entry := pointer("manifest.v1+json", manifest)
	entry["annotations"] = object{"io.containerd.image.name": name.full, "org.opencontainers.image.ref.name": name.tag}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{entry}})
	if err != nil {
		return nil, err
	}
	return archive([]file{
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, index},
		{blob(layer), 0o644, layer},
		{blob(config), 0o644, config},
		{blob(manifest), 0o644, manifest},
	})
}

type object = map[string]any

func pointer(kind string, content []byte) object {
	return object{"mediaType": "application/vnd.oci.image." + kind, "digest": digest(content), "size": len(content)}
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func blob(content []byte) string { return "blobs/" + strings.Replace(digest(content), ":", "/", 1) }
