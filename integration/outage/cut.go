package main

import "context"

func cut(context.Context, *scenario) error      { return nil }
func fullDisk(context.Context, *scenario) error { return nil }
