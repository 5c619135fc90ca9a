//go:build deps

package model

import (
	_ "github.com/anthropics/anthropic-sdk-go"
	_ "github.com/sashabaranov/go-openai"
	_ "google.golang.org/genai"
)
