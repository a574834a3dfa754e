import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { peerRates } from './peer-rates.ts'

/** As llama.cpp 0.7.0 prints it. */
const line = (pl: number, { prefill, decode }: { prefill: number; decode: number }) =>
  JSON.stringify({
    n_kv_max: 4608,
    n_batch: 2048,
    n_ubatch: 512,
    flash_attn: -1,
    is_pp_shared: 1,
    n_gpu_layers: -1,
    n_threads: 2,
    n_threads_batch: 2,
    pp: 256,
    tg: 32,
    pl,
    n_kv: 288 * pl,
    t_pp: 256 / prefill,
    speed_pp: prefill,
    t_tg: (32 * pl) / decode,
    speed_tg: decode,
    t: 1,
    speed: 1,
  })

const work = { context: 256, newTokens: 32, batches: [1, 8] }

/** A folder whose `llama-batched-bench` is this shell script. */
async function programFolder(script?: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-peer-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  if (script === undefined) return folder
  const path = join(folder, 'llama-batched-bench')
  await writeFile(path, `#!/bin/sh\n${script}\n`)
  await chmod(path, 0o755)
  return folder
}

const printing = (text: string) => programFolder(`cat <<'END'\n${text}\nEND`)

it('the peer’s rates are those that llama-batched-bench prints for each batch', async () => {
  const folder = await printing(
    [line(1, { prefill: 480, decode: 110 }), line(8, { prefill: 500, decode: 210 })].join('\n'),
  )
  expect(await peerRates({ folder, gguf: 'model.gguf' }, work)).toEqual({ prefill: 500, decode: [110, 210] })
})

it.each([
  ['a table', '| PP | TG | B |'],
  ['lines of another work', line(1, { prefill: 480, decode: 110 }).replace('"pp":256', '"pp":128')],
  ['a batch too few', line(1, { prefill: 480, decode: 110 })],
  ['rates that are none', line(1, { prefill: 480, decode: 110 }).replace('"speed_tg":110', '"speed_tg":0')],
  ['broken JSON', '{"pp": 256,'],
  ['nothing', ''],
])('a peer that prints %s is refused in one line with what it printed', async (_, text) => {
  const folder = await printing(text)
  await expect(peerRates({ folder, gguf: 'model.gguf' }, work)).rejects.toMatchObject({
    name: 'CliFailure',
    message: `llama-batched-bench printed no rates for batches of 1, 8: ${text.slice(0, 200) || '(nothing)'}`,
  })
})

it('a peer that is missing or fails is named, with its last words', async () => {
  const empty = await programFolder()
  await expect(peerRates({ folder: empty, gguf: 'model.gguf' }, work)).rejects.toMatchObject({
    name: 'CliFailure',
    message: `--peer has no llama-batched-bench: ${join(empty, 'llama-batched-bench')}`,
  })
  const failing = await programFolder('echo loading >&2; echo "unknown model architecture" >&2; exit 1')
  await expect(peerRates({ folder: failing, gguf: 'model.gguf' }, work)).rejects.toMatchObject({
    name: 'CliFailure',
    message: `${join(failing, 'llama-batched-bench')} failed: unknown model architecture`,
  })
})
