package main

import (
	"strings"

	"github.com/testcontainers/testcontainers-go"
)

// The module of testcontainers starts images that are laid out as Confluent's: it sources, appends to
// and runs what is in confluent. Apache's own image is laid out otherwise, and does all that is needed
// by itself when it is run: configured from the environment, formatted, started.
const (
	confluent = "/etc/confluent/docker/"
	apacheRun = "/etc/kafka/docker/run"
)

// official are the files that Apache's image lacks to be started by the module; none for others.
func official(image string) []testcontainers.ContainerFile {
	if name, _, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":"); name != "kafka" || !strings.Contains(image, "apache/") {
		return nil
	}
	var files []testcontainers.ContainerFile
	for name, script := range map[string]string{
		"bash-config": "",
		"configure":   "#!/bin/bash\n",
		"launch":      "#!/bin/bash\nexec " + apacheRun + "\n",
	} {
		files = append(files, testcontainers.ContainerFile{
			Reader: strings.NewReader(script), ContainerFilePath: confluent + name, FileMode: 0o755,
		})
	}
	return files
}
