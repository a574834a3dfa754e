import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, test } from 'vitest'
import { FileList, FileObject, maxFileBytes } from '../../shared/api/files.ts'
import { TestEdge, type TestTenant } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})

const good = '{"prompt":"hello","completion":"world"}\n'
const boundary = 'a-boundary'

type Part = readonly [name: string, content: string | Uint8Array, filename?: string]

/** A form's bytes, whatever is wrong with it. */
function formOf(parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder()
  const pieces = parts.flatMap(([name, content, filename]) => [
    encoder.encode(
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}\r\n\r\n`,
    ),
    typeof content === 'string' ? encoder.encode(content) : content,
    encoder.encode('\r\n'),
  ])
  const bytes = [...pieces, encoder.encode(`--${boundary}--\r\n`)].flatMap((piece) => [...piece])
  return Uint8Array.from(bytes)
}

const upload = (body: Uint8Array<ArrayBuffer> | ReadableStream, headers: Record<string, string> = {}) =>
  edge.fetch('/v1/files', {
    method: 'POST',
    headers: {
      authorization: `Bearer ${tenant.key}`,
      'content-type': `multipart/form-data; boundary=${boundary}`,
      ...headers,
    },
    body,
  })

const file = (content: string | Uint8Array, purpose = 'fine-tune') =>
  formOf([
    ['purpose', purpose],
    ['file', content, 'a.jsonl'],
  ])

/** The refusal's status, code, param and words. */
async function refusal(answer: Response | Promise<Response>) {
  const response = await answer
  const { error } = await response.json<{ error: { code: string; param: string | null; message: string } }>()
  return { status: response.status, ...error }
}

/** Nothing of the tenant is in the bucket or in the list, and the room is free again. */
async function expectNothingKept(): Promise<void> {
  expect((await env.FILES.list({ prefix: `${tenant.id}/` })).objects).toEqual([])
  expect(FileList.parse(await (await edge.own(tenant, 'GET', '/files')).json()).data).toEqual([])
}

describe('a file', () => {
  test('of 5 GB is refused by its announced length, before it is read', async () => {
    let read = 0
    const body = new ReadableStream({
      pull(controller) {
        read += 1
        controller.enqueue(new Uint8Array(1_024))
      },
    })
    const refused = await refusal(upload(body, { 'content-length': String(5 * 1024 ** 3) }))
    expect(refused).toMatchObject({ status: 413, code: 'body_too_large', param: 'file' })
    expect(refused.message).toContain(`at most ${maxFileBytes} bytes; split it`)
    expect(read).toBeLessThan(20_000)
    await expectNothingKept()
  })

  test('that does not say its length is refused where the tenant’s room ends, and the room is free again', async () => {
    tenant = await edge.seedTenant()
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { fileBytes: 2_000 } })
    const whole = file(good.repeat(100))
    const body = new ReadableStream({
      type: 'bytes',
      start(controller) {
        for (let at = 0; at < whole.length; at += 500) controller.enqueue(whole.slice(at, at + 500))
        controller.close()
      },
    })
    expect(await refusal(upload(body))).toMatchObject({ code: 'file_storage_exceeded', param: 'file' })
    await expectNothingKept()
    const fits = await upload(file(good.repeat(20)))
    expect(fits.status).toBe(200)
    const more = await refusal(upload(file(good.repeat(40))))
    expect(more).toMatchObject({ code: 'file_storage_exceeded' })
    expect(more.message).toMatch(/2000 bytes together.*delete some, or ask the operator/)
    tenant = await edge.seedTenant()
  })

  test.each([
    [
      'random bytes',
      Uint8Array.from([0x1f, 0x8b, 8, 0, 0xff, 0xfe, 0x80]),
      /^line 1: it is not UTF-8; send a text file/,
    ],
    ['zeros', new Uint8Array(64), /^line 1: it is not JSON; write one JSON object per line/],
    ['a JSON array', '[{"prompt":"a","completion":"b"}]', /^line 1: it is a list; write one object per line/],
    ['a table', 'prompt,completion\na,b\n', /^line 1: it is not JSON/],
    ['nothing', '', /holds no lines/],
    ['blank lines', '\n\n \n', /holds no lines/],
    [
      'one wrong line behind good ones',
      `${good.repeat(3)}{"prompt":"a"}\n`,
      /^line 4: completion: is missing/,
    ],
    ['a line of several megabytes', `{"prompt":"${'x'.repeat(1_100_000)}"`, /^line 1: it has more than/],
    [
      'a tool’s call',
      '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{}]}]}',
      /^line 1: messages\[1\]\.tool_calls: calls of tools/,
    ],
  ])(
    'of %s is refused with its line and the remedy, and nothing of it is kept',
    async (_, content, words) => {
      const refused = await refusal(upload(file(content)))
      expect(refused).toMatchObject({ status: 400, code: 'training_data_invalid', param: 'file' })
      expect(refused.message).toMatch(words)
      await expectNothingKept()
    },
  )

  test.each([
    ['for another purpose', file(good, 'assistants'), 'purpose', /must be fine-tune or batch/],
    [
      'without a purpose',
      formOf([['file', good, 'a.jsonl']]),
      'purpose',
      /is missing: send a form with purpose/,
    ],
    [
      'with another purpose behind it',
      formOf([
        ['purpose', 'fine-tune'],
        ['file', good, 'a.jsonl'],
        ['purpose', 'batch'],
      ]),
      'purpose',
      /stands twice; a file has one purpose/,
    ],
    [
      'in front of a purpose for which its lines are wrong',
      formOf([
        ['file', good.repeat(2), 'a.jsonl'],
        ['purpose', 'batch'],
      ]),
      'file',
      /^line 1: custom_id: is missing/,
    ],
    [
      'in front of its purpose and wrong for any',
      formOf([
        ['file', `${good}nonsense\n${good}`, 'a.jsonl'],
        ['purpose', 'fine-tune'],
      ]),
      'file',
      /^line 2: it is not JSON/,
    ],
    [
      'in front of a purpose that there is not',
      formOf([
        ['file', good, 'a.jsonl'],
        ['purpose', 'assistants'],
      ]),
      'purpose',
      /must be fine-tune or batch/,
    ],
    [
      'that is to expire',
      formOf([
        ['purpose', 'fine-tune'],
        ['expires_after[anchor]', 'created_at'],
        ['file', good, 'a'],
      ]),
      'expires_after[anchor]',
      /is not supported/,
    ],
    ['without a file', formOf([['purpose', 'fine-tune']]), 'file', /is missing/],
    [
      'twice in a form',
      formOf([
        ['purpose', 'fine-tune'],
        ['file', good, 'a'],
        ['file', good, 'b'],
      ]),
      'file',
      /stands twice/,
    ],
    ['whose form is cut off', file(good).subarray(0, -20), null, /ends before its last boundary/],
  ] as const)('%s is refused by the field', async (_, form, param, words) => {
    const refused = await refusal(upload(Uint8Array.from(form)))
    expect(refused).toMatchObject({ status: 400, param })
    expect(refused.message).toMatch(words)
    await expectNothingKept()
  })

  test('of another tenant is unknown: to look at, to delete, to train on and to run as a batch', async () => {
    const mine = FileObject.parse(await (await upload(file(good.repeat(2)))).json())
    const other = await edge.seedTenant()
    const asked: [method: string, path: string, body?: object][] = [
      ['GET', `/files/${mine.id}`],
      ['GET', `/files/${mine.id}/content`],
      ['DELETE', `/files/${mine.id}`],
      ['POST', '/fine_tuning/jobs', { model: 'tiny', training_file: mine.id }],
      ['POST', '/batches', { input_file_id: mine.id, endpoint: '/v1/completions', completion_window: '24h' }],
    ]
    for (const [method, path, body] of asked) {
      const refused = await refusal(edge.own(other, method, path, body))
      expect(refused, path).toMatchObject({ status: 404, code: 'not_found' })
      expect(refused.message).toMatch(/this tenant has no file/)
      const field = Object.keys(body ?? {}).find((name) => name.endsWith('file') || name.endsWith('file_id'))
      expect(refused.param).toBe(field ?? null)
    }
    expect((await edge.own(tenant, 'GET', `/files/${mine.id}/content`)).status).toBe(200)
  })
})
