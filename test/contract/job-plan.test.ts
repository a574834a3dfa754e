import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { servingEncoder } from '../../cli/tokenizer/serving-encoder.ts'
import { TokenizerJson } from '../../model/import/tokenizer.ts'
import { Hyperparameters, JobId } from '../../shared/api/fine-tuning.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { TenantId } from '../../shared/ids.ts'
import { planJob } from '../../training/trainer/job-plan.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { tinyBackbone } from '../parity/tiny-backbone.ts'

const usual = new TextEncoder().encode('{"prompt":"hello","completion":"world"}\n'.repeat(8))

/** Plans jobs on a backbone with this chat template. */
async function plannerOf(template: string) {
  const tokens = { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd, tinySpecials.endOfText] }
  const text = { tokenizer: TokenizerJson.parse(tinyTokenizer), tokens, chat: { template } }
  const tiny = await tinyBackbone({ config: { vocab: 303 }, text })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const encoder = await servingEncoder(tiny)
  const plan = ({
    placement = 'auto',
    training = usual,
    validation,
  }: {
    readonly placement?: Hyperparameters['placement']
    readonly training?: Uint8Array
    readonly validation?: Uint8Array
  }) =>
    planJob(tiny, {
      encoder,
      files: { training, validation, adapter: undefined },
      work: {
        tenant: TenantId.parse('acme'),
        job: JobId.parse(`ftjob-${'a'.repeat(24)}`),
        fence: 1,
        from: null,
        hasValidationFile: validation !== undefined,
        checkpointStep: null,
        seed: 1,
        hyperparameters: Hyperparameters.parse({ placement }),
        leaseMs: 60_000,
      },
    })
  const placed = async (placement: Hyperparameters['placement'], training?: Uint8Array) => {
    const { metadata } = await plan({ placement, ...(training && { training }) })
    return [metadata.placement, metadata.tail]
  }
  return { header: encoder.generationHeader, placed, plan }
}

test('a new adapter’s rows are late where the template has a generation header, or stand where the job says', async () => {
  const { header, placed } = await plannerOf(tinyChat.template)
  expect(header).toBeGreaterThan(0)
  expect(await placed('auto')).toEqual(['late', header])
  expect(await placed('late')).toEqual(['late', header])
  expect(await placed('turn')).toEqual(['turn', undefined])
  expect(await placed('after-first')).toEqual(['after-first', undefined])
})

test('without a template they stand behind the first token', async () => {
  const { placed } = await plannerOf('')
  expect(await placed('auto')).toEqual(['after-first', undefined])
})

test('its provenance names the files by their hashes, so that an evaluation on them can warn', async () => {
  const { plan } = await plannerOf(tinyChat.template)
  const validation = new TextEncoder().encode('{"prompt":"you","completion":"world"}\n')
  const { dev, train } = (await plan({ validation })).data
  expect(train.source).toBe(await sha256Hex(usual))
  expect(dev.source).toBe(await sha256Hex(validation))
})

test('validation examples whose prompts are trained on are not measured, as they would flatter the tuned model', async () => {
  const { plan } = await plannerOf(tinyChat.template)
  const fileOf = (prompts: readonly string[]) =>
    new TextEncoder().encode(
      prompts.map((prompt) => `{"prompt":"${prompt}","completion":"world"}\n`).join(''),
    )
  const some = await plan({ validation: fileOf(['hello', 'you', 'hello']) })
  expect([[...some.questions.values()], some.data.dev.examples.length, some.trainedOn]).toEqual([
    ['you'],
    1,
    2,
  ])
  const none = await plan({ validation: fileOf(['hello', 'hello']) })
  expect([none.data.dev.examples.length, none.trainedOn]).toEqual([0, 2])
})

test('validation examples that the trainer sets apart are none of those that are trained on', async () => {
  const { plan } = await plannerOf(tinyChat.template)
  const training = new TextEncoder().encode(
    Array.from(
      { length: 20 },
      (_, at) => `{"prompt":"hello ${'you '.repeat(at)}","completion":"world"}\n`,
    ).join(''),
  )
  const { data, trainedOn } = await plan({ training })
  expect([data.train.examples.length, data.dev.examples.length, trainedOn]).toEqual([18, 2, 0])
})

test('a file with a prompt too short for where the rows stand is refused by its line', async () => {
  const { placed } = await plannerOf('')
  const lines = ['hello you', 'hello', 'hello you'].map((prompt) =>
    JSON.stringify({ prompt, completion: 'world' }),
  )
  const training = new TextEncoder().encode(lines.join('\n'))
  await expect(placed('turn', training)).rejects.toThrow(/training_file, line 2: its prompt has one token/)
  expect(await placed('after-first', training)).toEqual(['after-first', undefined])
})

test('a trainer goes on reporting while it reads a large file, and a conversation of many answers', async () => {
  const { plan } = await plannerOf(tinyChat.template)
  const talk = Array.from({ length: 40 }, () => [
    { role: 'user', content: 'hello' },
    { role: 'assistant', content: 'world' },
  ]).flat()
  const files = [new TextDecoder().decode(usual).repeat(800), JSON.stringify({ messages: talk })]
  for (const text of files) {
    let turns = 0
    let isPlanned = false
    const work = () => {
      turns += 1
      if (!isPlanned) setImmediate(work)
    }
    setImmediate(work)
    await plan({ training: new TextEncoder().encode(text) })
    isPlanned = true
    expect(turns).toBeGreaterThan(0)
  }
})
