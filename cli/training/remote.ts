import { openAsBlob } from 'node:fs'
import { basename } from 'node:path'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { FileObject } from '../../shared/api/files.ts'
import { Job, JobEvent } from '../../shared/api/fine-tuning.ts'
import { edgeOf } from '../access/admin-access.ts'
import { CliFailure } from '../command/failure.ts'
import { note, print, printJson } from '../command/output.ts'
import { type EdgeAccess, send } from '../edge/edge-call.ts'

/** The options that a remote job accepts. The trainer sets all other training options itself. */
const RemoteOptions = z.object({
  data: z.string().min(1),
  dev: z.string().min(1).optional(),
  model: z.string().min(1).optional(),
  backbone: z.string(),
  suffix: z.string().optional(),
  epochs: z.number().optional(),
  batch: z.number().optional(),
  placement: z.string().optional(),
  seed: z.number().optional(),
  deployIfWorse: z.boolean().default(false),
  json: z.boolean().default(false),
})
const taken: ReadonlySet<string> = new Set([...Object.keys(RemoteOptions.shape), 'remote', 'edge'])

export function addRemoteOptions(command: Command): Command {
  return command
    .option('--remote', "train on the edge's trainers, as the tenant whose key QUARTET_API_KEY is")
    .addOption(new Option('--model <name>', 'with --remote: a backbone, or an alias to go on from'))
    .addOption(new Option('--suffix <text>', 'with --remote: stands in the name of the result'))
    .addOption(new Option('--deploy-if-worse', 'with --remote: point the alias even then'))
}

/** Uploads the examples, creates a job, shows its events as they come, and prints the model that it made. */
export async function trainRemotely(command: Command): Promise<void> {
  const others = Object.keys(command.opts()).filter(
    (name) => command.getOptionValueSource(name) === 'cli' && !taken.has(name),
  )
  if (others.length > 0)
    throw new CliFailure(`--remote does not take ${others.map((name) => `--${dashed(name)}`).join(', ')}`, {
      remedy:
        'it takes --data, --dev, --model, --suffix, --epochs, --batch, --placement, --seed and --deploy-if-worse',
    })
  const options = RemoteOptions.parse(command.opts())
  const key = process.env.QUARTET_API_KEY
  if (key === undefined)
    throw new CliFailure('nothing says who trains', { remedy: "set QUARTET_API_KEY to a tenant's key" })
  const access: EdgeAccess = { edge: await edgeOf(command), base: '/v1', key }
  const training_file = await upload(access, options.data)
  const validation_file = options.dev === undefined ? undefined : await upload(access, options.dev)
  const { estimate, id } = await send(access, {
    method: 'POST',
    path: 'fine_tuning/jobs',
    json: {
      model: options.model ?? options.backbone,
      training_file,
      validation_file,
      suffix: options.suffix,
      ...(command.getOptionValueSource('seed') === 'cli' ? { seed: options.seed } : {}),
      deploy_if_worse: options.deployIfWorse,
      method: {
        type: 'supervised',
        supervised: {
          hyperparameters: {
            n_epochs: options.epochs,
            batch_size: options.batch,
            placement: options.placement,
          },
        },
      },
    },
    answer: Job,
  })
  note(`${id}: it goes on when this command ends`)
  if (estimate !== null)
    note(
      `expected: ${estimate.steps} steps, ${estimate.trained_tokens} tokens, about ${estimate.seconds} s once a trainer has it`,
    )
  await showEvents(access, id)
  const job = await send(access, { method: 'GET', path: `fine_tuning/jobs/${id}`, answer: Job })
  if (options.json) printJson(job)
  if (job.status !== 'succeeded')
    throw new CliFailure(`the job is ${job.status}${job.error === null ? '' : `: ${job.error.message}`}`)
  if (!options.json) print(job.fine_tuned_model ?? job.adapter ?? '')
}

const dashed = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Throws at once, or later, as the platform likes. */
async function opened(file: string): Promise<Blob> {
  try {
    return await openAsBlob(file)
  } catch (cause) {
    throw new CliFailure(`${file} cannot be read`, { cause })
  }
}

/** Sends a file of examples as it is read. */
async function upload({ base, edge, key }: EdgeAccess, file: string): Promise<string> {
  const examples = await opened(file)
  const form = new FormData()
  form.append('purpose', 'fine-tune')
  form.append('file', examples, basename(file))
  const response = await fetch(`${edge}${base}/files`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: form,
  }).catch((cause: unknown) => {
    throw new CliFailure(`the edge at ${edge} cannot be reached`, { cause })
  })
  const answered: unknown = await response.json().catch(() => undefined)
  const refused = z.object({ error: z.object({ message: z.string() }) }).safeParse(answered)
  if (!response.ok)
    throw new CliFailure(
      `${file}: ${refused.success ? refused.data.error.message : `the edge answered ${response.status}`}`,
    )
  const { id, lines } = FileObject.parse(answered)
  note(`${id}: ${lines} examples of ${file}`)
  return id
}

const repeatMs = 2_000
const mostBreaks = 30

/** Shows a job's events until it has ended; a stream that breaks is read again. */
async function showEvents({ base, edge, key }: EdgeAccess, job: string): Promise<void> {
  const seen = new Set<string>()
  for (let breaks = 0; breaks < mostBreaks; breaks++) {
    try {
      const response = await fetch(`${edge}${base}/fine_tuning/jobs/${job}/events?stream=true`, {
        headers: { authorization: `Bearer ${key}` },
      })
      if (response.status >= 400 && response.status < 500)
        throw new CliFailure(`the edge answered ${response.status}`)
      let text = ''
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        const events = (text + chunk).split('\n\n')
        text = events.pop() ?? ''
        for (const event of events) {
          const data = event.slice('data: '.length)
          if (data === '[DONE]') return
          const { id, message } = JobEvent.parse(JSON.parse(data))
          if (!seen.has(id)) note(message)
          seen.add(id)
        }
      }
    } catch (thrown) {
      if (thrown instanceof CliFailure) throw thrown
    }
    await new Promise((resolve) => setTimeout(resolve, repeatMs))
  }
  throw new CliFailure('the events of the job cannot be read', { remedy: `look at ${job} in the console` })
}
