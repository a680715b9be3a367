// Package downloader makes git repositories available at a path of this machine.
package downloader
