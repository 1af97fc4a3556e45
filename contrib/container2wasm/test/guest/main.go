// Command init stands in for container2wasm's cmd/init in the test's guest. It is written from the protocol, has the same root file system around
// it and the same order of events, and takes the same patch: at both places where info is read.
//
// Settings come from the kernel's command line, as there: QEMU_MODE=1 waits for info instead of the host's answer, NO_RUNTIME_CONFIG=1 asks the
// host nothing.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	rootFSTag = "wasi0"
	packFSTag = "wasi1"

	rootfs = "/run/rootfs"
	bundle = "/run/bundle"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}

func run() error {
	for name, value := range map[string]string{"PATH": "/bin:/sbin:/usr/bin:/usr/sbin", "HOME": "/root", "TERM": "vt100"} {
		os.Setenv(name, value)
	}
	if err := command("stty", "-echo"); err != nil {
		return err
	}
	var image image
	if err := readJSON("/oci/image.json", &image); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	// The pages that the container's start needs, while nobody waits.
	for _, path := range []string{"/sbin/runc", "/sbin/init"} {
		if _, err := os.ReadFile(path); err != nil {
			return err
		}
	}
	var info info
	if err := synchronize(&info); err != nil {
		return err
	}
	if err := command("ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	if err := configure(image, info); err != nil {
		return err
	}
	failed := command("runc", "run", "-b", bundle, "container")
	if err := command("poweroff", "-f"); err != nil {
		return err
	}
	return failed
}

func mount9P(tag, options string) error {
	folder := filepath.Join("/mnt", tag)
	if err := os.MkdirAll(folder, 0777); err != nil {
		return err
	}
	return mount("9p", tag, folder, "trans=virtio,version=9p2000.L"+options)
}

func mount(kind, source, target, options string) error {
	if err := os.MkdirAll(target, 0755); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

func mountAll() error {
	for _, m := range [][3]string{
		{"proc", "/proc"}, {"tmpfs", "/run"}, {"tmpfs", "/sys"}, {"tmpfs", "/tmp"}, {"tmpfs", "/var"}, {"tmpfs", "/mnt"},
		{"cgroup2", "/sys/fs/cgroup"}, {"tmpfs", "/etc"}, {"tmpfs", bundle},
	} {
		if err := mount(m[0], m[0], m[1], ""); err != nil {
			return err
		}
	}
	for _, folder := range []string{"/run/upper", "/run/work"} {
		if err := os.MkdirAll(folder, 0755); err != nil {
			return err
		}
	}
	if err := mount("overlay", "overlay", rootfs, "lowerdir=/oci/rootfs,upperdir=/run/upper,workdir=/run/work"); err != nil {
		return err
	}
	for name, text := range map[string]string{"hosts": "127.0.0.1\tlocalhost\n", "resolv.conf": ""} {
		for _, root := range []string{"/", rootfs} {
			path := filepath.Join(root, "etc", name)
			if err := os.MkdirAll(filepath.Dir(path), 0755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0644); err != nil {
				return err
			}
		}
	}
	return nil
}

// synchronize passes the barrier, at which the snapshot is taken, and reads what the host has said.
func synchronize(info *info) error {
	switch {
	case os.Getenv("NO_RUNTIME_CONFIG") == "1":
		return nil
	case os.Getenv("QEMU_MODE") == "1":
		if err := awaitInfo(); err != nil {
			return err
		}
		infoD, err := os.ReadFile(filepath.Join("/mnt", packFSTag, "info"))
		if err != nil {
			return err
		}
		return info.parse(string(infoD))
	default:
		if err := passBarrier(); err != nil {
			return err
		}
		infoD, err := os.ReadFile(filepath.Join("/mnt", packFSTag, "info"))
		if err != nil {
			return err
		}
		return info.parse(string(infoD))
	}
}

func passBarrier() error {
	for _, tag := range []string{rootFSTag, packFSTag} {
		if err := mount9P(tag, ",msize=8192"); err != nil {
			return err
		}
	}
	fmt.Print("==========")
	for answer := make([]byte, 2); ; {
		n, err := os.Stdin.Read(answer)
		if err != nil {
			return err
		}
		if string(answer[:n]) == "=\n" {
			return nil
		}
	}
}

// awaitInfo passes a barrier that has no answer.
func awaitInfo() error {
	fmt.Print("==========")
	for {
		time.Sleep(time.Second)
		if err := mount9P(packFSTag, ""); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join("/mnt", packFSTag, "info")); err == nil {
			return mount9P(rootFSTag, "")
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := syscall.Unmount(filepath.Join("/mnt", packFSTag), 0); err != nil {
			return err
		}
	}
}

// image is the part of an image's configuration that runc's does not have.
type image struct {
	Config struct {
		Entrypoint, Cmd []string
	}
}

// info is what the host wants to be run.
type info struct {
	entrypoint, arguments, environment []string
	binds                              []bind
}

type bind struct {
	path, access string
}

func (info *info) parse(text string) error {
	for _, line := range split(text, '\n') {
		key, value, found := strings.Cut(line, ":")
		if !found {
			continue
		}
		value = strings.TrimLeft(value, " ")
		switch key {
		case "e":
			info.entrypoint = []string{value}
		case "c":
			info.arguments = split(value, ' ')
		case "env":
			info.environment = append(info.environment, value)
		case "m":
			info.binds = append(info.binds, bind{value, "rw"})
		case "mr":
			info.binds = append(info.binds, bind{value, "ro"})
		case "t":
			// Without its output: the console is the container's.
			if err := exec.Command("date", "-s", "@"+value).Run(); err != nil {
				return fmt.Errorf("date: %w", err)
			}
		}
	}
	return nil
}

// split splits text at separators that do not follow a backslash, and takes that backslash away from the others.
func split(text string, separator byte) []string {
	parts := []string{""}
	for i := 0; i < len(text); i++ {
		last := &parts[len(parts)-1]
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == separator:
			i++
			*last += string(separator)
		case text[i] == separator:
			parts = append(parts, "")
		default:
			*last += string(text[i])
		}
	}
	return parts
}

// configure writes runc's configuration: the image's, and what the host has said.
func configure(image image, info info) error {
	var spec map[string]any
	if err := readJSON("/oci/spec.json", &spec); err != nil {
		return err
	}
	process := spec["process"].(map[string]any)
	entrypoint, arguments := image.Config.Entrypoint, image.Config.Cmd
	if info.entrypoint != nil {
		entrypoint = info.entrypoint
	}
	if info.arguments != nil {
		arguments = info.arguments
	}
	process["args"] = append(entrypoint, arguments...)
	for _, variable := range info.environment {
		process["env"] = append(process["env"].([]any), variable)
	}
	for _, bind := range info.binds {
		spec["mounts"] = append(spec["mounts"].([]any), map[string]any{
			"type": "bind", "source": filepath.Join("/mnt", rootFSTag, bind.path), "destination": filepath.Join("/", bind.path),
			"options": []string{"bind", bind.access},
		})
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), text, 0600)
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// command runs a program on the console.
func command(name string, arguments ...string) error {
	program := exec.Command(name, arguments...)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := program.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return nil
}
