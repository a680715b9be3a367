// Package audit looks for what must not be: in the history of a job as the HTTP interface
// shows it, and in the topics as any Kafka client reads them.
//
//	wrong := audit.History(id, events)
//	records, err := audit.Read(ctx, brokers, "waybill.orchestration.events")
//	wrong = append(wrong, audit.Log(records)...)
//
// What it returns are sentences for people; none means that all is well.
package audit
