package main

import "testing"

func TestOnlyApachesOwnImageIsGivenWhatItLacks(t *testing.T) {
	for image, want := range map[string]bool{
		"apache/kafka:4.3.1":                 true,
		"registry.example.com/apache/kafka":  true,
		"waybill-test/kafka:4.3.1":           false,
		"confluentinc/confluent-local:7.9.0": false,
	} {
		if got := len(official(image)) > 0; got != want {
			t.Errorf("%s: %t, want %t", image, got, want)
		}
	}
}
