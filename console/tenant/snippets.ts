/** The request of the playground as code that a person can paste. The key is named, never written. */

export interface Snippet {
  readonly name: string
  readonly text: string
}

type Body = Readonly<Record<string, unknown>>

/** Where the answer may be calls of tools, and then has no text. */
const mayCall = (body: Body): boolean => 'tools' in body

export function snippets(origin: string, body: Body): readonly Snippet[] {
  return [
    { name: 'curl', text: curl(origin, body) },
    { name: 'Python', text: python(origin, body) },
    { name: 'TypeScript', text: typescript(origin, body) },
  ]
}

function curl(origin: string, body: Body): string {
  const json = JSON.stringify(body).replaceAll("'", "'\\''")
  return `curl -s ${origin}/v1/chat/completions -H "Authorization: Bearer $QUARTET_API_KEY" -H 'Content-Type: application/json' \\\n  -d '${json}'`
}

/** Parameters that the `openai` package does not name travel as `extra_body`. */
const own = new Set(['top_k', 'min_p', 'repetition_penalty'])

function python(origin: string, body: Body): string {
  const standard = Object.entries(body).filter(([name]) => !own.has(name))
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => own.has(name)))
  const lines = standard.map(([name, value]) => `    ${name}=${pythonLiteral(value)},`)
  if (Object.keys(extra).length > 0) lines.push(`    extra_body=${pythonLiteral(extra)},`)
  return `import os
from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=os.environ["QUARTET_API_KEY"])
answer = client.chat.completions.create(
${lines.join('\n')}
)
print(${mayCall(body) ? 'answer.choices[0].message' : 'answer.choices[0].message.content'})`
}

function pythonLiteral(value: unknown): string {
  if (value === null || value === undefined) return 'None'
  if (value === true) return 'True'
  if (value === false) return 'False'
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(', ')}]`
  if (typeof value === 'object')
    return `{${Object.entries(value)
      .map(([name, each]) => `${JSON.stringify(name)}: ${pythonLiteral(each)}`)
      .join(', ')}}`
  return JSON.stringify(value)
}

function typescript(origin: string, body: Body): string {
  return `import OpenAI from 'openai'

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.QUARTET_API_KEY })
const answer = await client.chat.completions.create(${JSON.stringify(body, null, 2)})
console.log(${mayCall(body) ? 'answer.choices[0]?.message' : 'answer.choices[0]?.message.content'})`
}
