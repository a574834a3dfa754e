import { parseArgs } from 'node:util'
import { CliFailure, describeFailure } from '../cli/command/failure.ts'
import { QuartetError } from '../shared/errors.ts'

const usage = `usage: npm run bench -- NAME [options]

  engine   one node: decode and prefill with and without adapters, batch 16 against 1, memory
             --peer FOLDER   instead, its rates against those of llama.cpp's llama-batched-bench from FOLDER
             --gguf A,B      the model files that llama.cpp loads
             --rounds N      how often each side is measured (default: 3)
  cache    the KV cache in 8 bits against f32: what it costs in perplexity, what it saves, decode and prefill
             --weights q4    Quartet's weights (default: q8)
  before   this checkout against another of this project, each started with its own start: prefill and decode over HTTP
             --checkout FOLDER  the other one, with its packages (npm ci)
             --rounds N      how often each side is measured (default: 5)
  budget   1,000 requests over 8 lease holders against a budget for 400
  edge     the worker's own time per request, before a node that answers at once
  gpu      a node's model on a device against the CPU: environment, numerics, decode, prefill, memory
             --device NAME   cuda, webgpu or cpu (which only tries the script out)
             --cache-type T  cuda: f16 or int8; webgpu: f16 or f32; cpu: f32 or int8 (the first is the default)
             --tiny          a small random backbone in place of the real one, and small sizes: for drivers in software
             --random        SmolLM2-135M's shape with random weights, made on the spot: for machines that fetch nothing
             --minutes N     when it has ended at the latest (default: 8); what does not fit is left out
             --out FILE      the figures as JSON, written anew after each
  fleet    a simulated fleet in virtual time: routing against random and plain-hash; draws docs/fleet-routing.svg
  late     four late adapters on one conversation that come at once, beside four whose rows stand in front; with the
             options of stack also beside four LoRAs of llama-server
  long-prompt  prefill of 8k tokens against 512 per token, and the pause of four streams beside 7,000
  prefix   a chat of ten turns over a long system prompt, with and without kept rows; prompts that never repeat
  kinds    what each kind of adapter costs: parameters, memory, prefill
  size     what a backbone takes: files, memory with 16 × 4,096 rows, tokens a second (--backbone SLUG, --weights q8)
  structure  a batch under eight schemas against a free one
             --fuzz N        N random schemas instead, whose whole answers must all validate
  tenants  finding a key's tenant and alias among 10,000 tenants and among 10
  trainer  a job on the machine that serves: the p95 of answers beside it against alone
  train    whole steps over a batch against PyTorch's, with and without checkpointing; memory
  weights  a backbone's weights in 8 and 4 bits against f32: perplexity and KL divergence on the text of backbone check
             --backbone SLUG (default: smollm2-135m-instruct)
             --peer FOLDER   also llama.cpp, by bench/llama-logits.cpp built in FOLDER beside libllama's libraries
             --gguf A,B      the same model in llama.cpp's formats
  stack    everything: eight adapters through edge and node, first use of an adapter
             --peer FOLDER   instead, the eight adapters against llama.cpp's llama-server from FOLDER
             --gguf A,B      the model files that llama-server loads
             --loras FOLDER  also the first of them with eight LoRAs
             --weights q4    Quartet's weights (default: q8); with --peer, each file in 4 bits is served as it is
             --cache-type T  how nodes store keys and values: f32 or int8
             --rounds N      how often each side is measured (default: 3)
  loras    writes eight random LoRAs for stack and late
             --gguf FILE     the model that they are for
             --out FOLDER    where they are written`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    checkout: { type: 'string' },
    peer: { type: 'string' },
    gguf: { type: 'string' },
    loras: { type: 'string' },
    rounds: { type: 'string' },
    device: { type: 'string' },
    'cache-type': { type: 'string' },
    tiny: { type: 'boolean' },
    random: { type: 'boolean' },
    out: { type: 'string' },
    minutes: { type: 'string' },
    fuzz: { type: 'string' },
    backbone: { type: 'string' },
    weights: { type: 'string' },
  },
})

async function run(name: string | undefined): Promise<boolean> {
  switch (name) {
    case 'engine':
      return (await import('./engine.ts')).benchEngine(values)
    case 'gpu':
      return (await import('./gpu.ts')).benchGpu(values)
    case 'cache':
      return (await import('./cache.ts')).benchCache(values)
    case 'before':
      return (await import('./before.ts')).benchBefore(values)
    case 'budget':
      return (await import('./budget.ts')).benchBudget()
    case 'edge':
      return (await import('./edge.ts')).benchEdge()
    case 'fleet':
      return (await import('./fleet.ts')).benchFleet()
    case 'late':
      return (await import('./late.ts')).benchLate(values)
    case 'long-prompt':
      return (await import('./long-prompt.ts')).benchLongPrompt()
    case 'prefix':
      return (await import('./prefix.ts')).benchPrefix()
    case 'kinds':
      return (await import('./kinds.ts')).benchKinds()
    case 'size':
      return (await import('./size.ts')).benchSize(values)
    case 'structure':
      return (await import('./structure.ts')).benchStructure(values)
    case 'loras':
      return (await import('./random-loras.ts')).writeRandomLoras(values)
    case 'tenants':
      return (await import('./tenants.ts')).benchTenants()
    case 'train':
      return (await import('./train.ts')).benchTrain()
    case 'trainer':
      return (await import('./trainer.ts')).benchTrainer()
    case 'weights':
      return (await import('./weights.ts')).benchWeights(values)
    case 'stack':
      return (await import('./stack.ts')).benchStack(values)
    default:
      console.error(usage)
      return false
  }
}

try {
  process.exitCode = (await run(positionals[0])) ? 0 : 1
} catch (error) {
  // The reader can mend these failures without a stack trace.
  if (!(error instanceof CliFailure || error instanceof QuartetError)) throw error
  if (error instanceof CliFailure) for (const line of error.log) console.error(`  ${line}`)
  console.error(`bench: ${describeFailure(error)}`)
  process.exitCode = 1
}
