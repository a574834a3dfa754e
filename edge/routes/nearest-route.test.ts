import { expect, test } from 'vitest'
import { nearestRoute } from './nearest-route.ts'
import { routes } from './table/routes.ts'

test.each([
  ['POST /v1/chat/completion', 'POST /v1/chat/completions'],
  ['POST /chat/completions', 'POST /v1/chat/completions'],
  ['POST /v1/v1/chat/completions', 'POST /v1/chat/completions'],
  ['POST /v1/chat/completions/', 'POST /v1/chat/completions'],
  ['POST /v1//chat/completions', 'POST /v1/chat/completions'],
  ['POST /V1/Chat/Completions', 'POST /v1/chat/completions'],
  ['POST /api/v1/chat/completions', 'POST /v1/chat/completions'],
  ['POST /v1/embedding', 'POST /v1/embeddings'],
  ['POST /messages', 'POST /v1/messages'],
  ['POST /v1/response', 'POST /v1/responses'],
  ['GET /models', 'GET /v1/models'],
  ['GET /v1/model', 'GET /v1/models'],
  ['GET /v1/models/a/', 'GET /v1/models/{model}'],
  ['POST /v1/finetuning/jobs', 'POST /v1/fine_tuning/jobs'],
  ['POST /v1/fine-tuning/jobs', 'POST /v1/fine_tuning/jobs'],
  ['POST /v1/tokenize', 'POST /tokenize'],
  ['POST /v1/batch', 'POST /v1/batches'],
  ['POST /api/generate', 'POST /v1/completions'],
  ['GET /healthz', 'GET /health'],
  ['GET /admin/v1/tenant', 'GET /admin/v1/tenants'],
])('%s is most likely meant for %s', (asked, expected) => {
  const [method = '', path = ''] = asked.split(' ')
  expect(nearestRoute({ method, path }, routes)).toBe(expected)
})

test.each([
  'POST /v1/images/generations',
  'POST /v1/audio/speech',
  'POST /v1/moderations',
  'GET /nowhere',
  'GET /v1',
  'GET /favicon.ico',
  `GET /${'a/'.repeat(500)}`,
])('%s is like no route there is', (asked) => {
  const [method = '', path = ''] = asked.split(' ')
  expect(nearestRoute({ method, path }, routes)).toBeUndefined()
})
