// Package app is the program that `waybill serve` runs: it wires the parts together and
// knows them all.
//
// Main runs them in one process, as many as its roles say, so that a test starts the very
// program:
//
//	m := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"})
//	if err := m.Start(ctx); err != nil {
//		return err
//	}
//	defer m.Close()
//	resp, err := http.Get(m.URL() + "/readyz")
//
// The parts start in the order in which they need each other, broker first, and stop in
// the opposite order, so that what is under way is finished as far as five seconds allow.
package app
