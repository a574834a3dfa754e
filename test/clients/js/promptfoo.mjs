import { execFile } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { alias, backbone, check, edge, feature, key, sea } from './report.mjs'

const folder = await mkdtemp(join(tmpdir(), 'quartet-promptfoo-'))

/** The results of an evaluation that promptfoo's command makes. */
async function evaluation(name, config) {
  const [file, output] = [join(folder, `${name}.json`), join(folder, `${name}.out.json`)]
  await writeFile(file, JSON.stringify(config))
  await promisify(execFile)(
    process.execPath,
    [
      join(import.meta.dirname, 'node_modules/promptfoo/dist/src/main.js'),
      'eval',
      '-c',
      file,
      '-o',
      output,
      '--no-cache',
    ],
    {
      env: {
        ...process.env,
        PROMPTFOO_CONFIG_DIR: folder,
        PROMPTFOO_DISABLE_TELEMETRY: '1',
        PROMPTFOO_DISABLE_UPDATE: '1',
        PROMPTFOO_DISABLE_REMOTE_GENERATION: '1',
      },
    },
  )
  return JSON.parse(await readFile(output, 'utf8')).results.results
}

const options = { apiBaseUrl: `${edge}/v1`, apiKey: key, max_tokens: 16, temperature: 0 }

await feature('evaluation of chat models', async () => {
  const results = await evaluation('chat', {
    prompts: ['{{question}}'],
    providers: [alias, backbone].map((model) => ({ id: `openai:chat:${model}`, config: options })),
    tests: [{ vars: { question: sea }, assert: [{ type: 'javascript', value: 'output.length > 0' }] }],
  })
  check(results.length === 2 && results.every(({ success }) => success), 'two answers')
})
await feature('similarity by embeddings', async () => {
  const results = await evaluation('similar', {
    prompts: ['{{question}}'],
    providers: [{ id: `openai:chat:${alias}`, config: options }],
    tests: [
      {
        vars: { question: sea },
        assert: [
          {
            type: 'similar',
            value: 'The sea is wide.',
            threshold: 0.1,
            provider: { id: `openai:embeddings:${backbone}`, config: options },
          },
        ],
      },
    ],
  })
  check(
    results.every(({ success }) => success),
    'similar vectors',
  )
})
