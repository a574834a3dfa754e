import { z } from 'zod'

/** One line of a file of requests (purpose `batch`), as OpenAI has it. */
export const BatchLine = z.object({
  custom_id: z.string('is missing').min(1).max(512),
  method: z.literal('POST', { error: 'must be POST' }),
  url: z.enum(['/v1/chat/completions', '/v1/completions'], {
    error: 'must be /v1/chat/completions or /v1/completions',
  }),
  body: z.record(z.string(), z.unknown(), { error: 'is missing: the request’s JSON object' }),
})
