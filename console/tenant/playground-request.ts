/** The values of the playground's controls. */
export interface PlaygroundForm {
  readonly system: string
  readonly question: string
  readonly temperature: number
  readonly topP: number
  readonly maxTokens: number
  /** JSON Schema that the answer must have, as text; empty for none. */
  readonly schema: string
  /** OpenAI's `tools`, as JSON text; empty for none. */
  readonly tools: string
  /** Whether the answer may be a call, or must be one. */
  readonly toolChoice: 'auto' | 'required'
  readonly logprobs: boolean
}

export const emptyForm: PlaygroundForm = {
  system: '',
  question: '',
  temperature: 0.7,
  topP: 1,
  maxTokens: 128,
  schema: '',
  tools: '',
  toolChoice: 'auto',
  logprobs: true,
}

export type BuiltRequest =
  | { readonly ok: true; readonly body: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly field: 'schema' | 'tools'; readonly message: string }

/** The body of `POST /v1/chat/completions` for one model, or which field holds no JSON. */
export function buildRequest(form: PlaygroundForm, model: string): BuiltRequest {
  const schema = parsed(form.schema)
  if (schema === invalid) return { ok: false, field: 'schema', message: 'This is no JSON.' }
  const tools = parsed(form.tools)
  if (tools === invalid || (tools !== undefined && !Array.isArray(tools)))
    return { ok: false, field: 'tools', message: 'This is no JSON array of tools.' }
  const system = form.system.trim()
  return {
    ok: true,
    body: {
      model,
      messages: [
        ...(system === '' ? [] : [{ role: 'system', content: system }]),
        { role: 'user', content: form.question },
      ],
      temperature: form.temperature,
      top_p: form.topP,
      max_tokens: form.maxTokens,
      ...(form.logprobs ? { logprobs: true, top_logprobs: 4 } : {}),
      ...(schema === undefined
        ? {}
        : {
            response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } },
          }),
      ...(tools === undefined
        ? {}
        : { tools, ...(form.toolChoice === 'auto' ? {} : { tool_choice: form.toolChoice }) }),
    },
  }
}

const invalid = Symbol('no JSON')

function parsed(text: string): unknown {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return invalid
  }
}
