// Package process builds the program and runs it as processes of their own, which can be
// killed:
//
//	bin, err := process.Build(ctx, dir)
//	p, err := process.Start(ctx, process.Command{Path: bin, Args: []string{"serve", "--data", dir}, Log: log})
//	err = p.Kill()
//
// Whatever is started ends with the context, if nobody has ended it before.
package process
