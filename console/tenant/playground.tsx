import { useEffect, useRef, useState } from 'preact/hooks'
import { AliasSummary } from '../../shared/api/deployments.ts'
import { Model } from '../../shared/api/models.ts'
import type { CallFailure } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { toFailure, useLoad } from '../api/use-load.ts'
import { useRoute } from '../session/route.ts'
import { useSignedIn } from '../session/session-context.ts'
import { Copy } from '../ui/copy.tsx'
import { Select, Slider, TextArea } from '../ui/field.tsx'
import { Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { AnswerPane } from './answer.tsx'
import { type ChatAnswer, streamChat } from './chat-stream.ts'
import { buildRequest, emptyForm, type PlaygroundForm } from './playground-request.ts'
import { snippets } from './snippets.ts'

export function Playground() {
  const models = useLoad('models', async (session, signal) => {
    const all = await readAll(session, Model, { path: '/v1/models', signal })
    // A key that may only ask for answers sees no deployments, and so no canaries.
    const aliases = await readAll(session, AliasSummary, { path: '/v1/aliases', signal }).catch(() => [])
    const withCanary = new Set<string>(
      aliases.flatMap(({ alias, canary }) => (canary === null ? [] : [alias])),
    )
    return all.flatMap(({ id }) => (withCanary.has(id) ? [id, `${id}@stable`, `${id}@canary`] : [id]))
  })
  return (
    <Page
      title="Playground"
      lead="One question, two models side by side. What you ask here counts like any request."
    >
      <Shown load={models}>{(names) => <Sides models={names} />}</Shown>
    </Page>
  )
}

const labelOf = (model: string): string =>
  model.replace(/@stable$/, ' (alias alone)').replace(/@canary$/, ' (canary alone)')

interface Side {
  readonly answer: ChatAnswer | undefined
  readonly failure: CallFailure | undefined
}

const blank: Side = { answer: undefined, failure: undefined }

function Sides({ models }: { models: readonly string[] }) {
  const { expired, session } = useSignedIn()
  const { argument } = useRoute()
  const second = argument !== undefined && models.includes(argument) ? argument : (models[0] ?? '')
  // A canary stands beside what its alias else answers with; whatever else, beside the untuned model.
  const first = second.replace(/@canary$/, '@stable')
  const beside = first === second ? (models.at(-1) ?? '') : first
  const [form, setForm] = useState(emptyForm)
  const [chosen, setChosen] = useState<readonly [string, string]>([beside, second])
  const [sides, setSides] = useState<readonly [Side, Side]>([blank, blank])
  const [stop, setStop] = useState<AbortController>()
  const latest = useRef<AbortController>(undefined)
  useEffect(() => () => latest.current?.abort(), [])
  const requests = chosen.map((model) => buildRequest(form, model))
  const wrong = requests.find((request) => !request.ok)
  const show = (at: number, side: Side) =>
    setSides(([left, right]) => (at === 0 ? [side, right] : [left, side]))

  const ask = async (at: number, signal: AbortSignal) => {
    const request = requests[at]
    if (request === undefined || !request.ok) return
    let answer: ChatAnswer | undefined
    try {
      for await (answer of streamChat(session, { body: request.body, signal }))
        show(at, { answer, failure: undefined })
    } catch (thrown) {
      if (signal.aborted) return
      const failure = toFailure(thrown)
      if (failure.status === 401) expired()
      else show(at, { answer, failure })
    }
  }
  const run = () => {
    const controller = new AbortController()
    latest.current = controller
    setStop(controller)
    setSides([blank, blank])
    Promise.all([ask(0, controller.signal), ask(1, controller.signal)])
      .finally(() => setStop(undefined))
      .catch(() => undefined)
  }
  const options = models.map((model) => ({ value: model, label: labelOf(model) }))
  return (
    <>
      <Panel title="Question">
        <form
          onSubmit={(event) => {
            event.preventDefault()
            if (stop === undefined && wrong === undefined) run()
          }}
        >
          <div class="columns">
            <TextArea
              label="Message"
              rows={4}
              value={form.question}
              onValue={(question) => setForm({ ...form, question })}
              placeholder="Where is my parcel?"
            />
            <TextArea
              label="System prompt"
              rows={4}
              value={form.system}
              onValue={(system) => setForm({ ...form, system })}
              hint="Optional."
            />
          </div>
          <Parameters form={form} onForm={setForm} wrong={wrong?.ok === false ? wrong : undefined} />
          <div class="actions">
            <button
              type="submit"
              class="primary"
              disabled={form.question.trim() === '' || stop !== undefined || wrong !== undefined}
            >
              {stop === undefined ? 'Ask both' : 'Answering…'}
            </button>
            {stop === undefined ? null : (
              <button type="button" onClick={() => stop.abort()}>
                Stop
              </button>
            )}
          </div>
        </form>
      </Panel>
      <div class="columns">
        {sides.map((side, at) => {
          const request = requests[at]
          return (
            <Panel key={at} title={at === 0 ? 'Left' : 'Right'}>
              <Select
                label="Model"
                value={chosen[at] ?? ''}
                onValue={(model) => setChosen(at === 0 ? [model, chosen[1]] : [chosen[0], model])}
                options={options}
              />
              <AnswerPane {...side} />
              {request?.ok === true ? (
                <div class="actions">
                  {snippets(location.origin, request.body).map(({ name, text }) => (
                    <Copy key={name} text={text} label={`Copy as ${name}`} />
                  ))}
                </div>
              ) : null}
            </Panel>
          )
        })}
      </div>
    </>
  )
}

const toolChoices = [
  { value: 'auto', label: 'auto: it may call' },
  { value: 'required', label: 'required: it must call' },
] as const

function Parameters({
  form,
  onForm,
  wrong,
}: {
  form: PlaygroundForm
  onForm: (form: PlaygroundForm) => void
  wrong: { readonly field: 'schema' | 'tools'; readonly message: string } | undefined
}) {
  return (
    <details>
      <summary>Parameters</summary>
      <div class="columns">
        <Slider
          label="temperature"
          value={form.temperature}
          onValue={(temperature) => onForm({ ...form, temperature })}
          min={0}
          max={2}
          step={0.05}
        />
        <Slider
          label="top_p"
          value={form.topP}
          onValue={(topP) => onForm({ ...form, topP })}
          min={0.05}
          max={1}
          step={0.05}
        />
        <Slider
          label="max_tokens"
          value={form.maxTokens}
          onValue={(maxTokens) => onForm({ ...form, maxTokens })}
          min={1}
          max={1_024}
          step={1}
        />
        <TextArea
          label="JSON Schema of the answer"
          value={form.schema}
          onValue={(schema) => onForm({ ...form, schema })}
          hint="Optional."
          wrong={wrong?.field === 'schema' ? wrong.message : undefined}
        />
        <TextArea
          label="Tools"
          value={form.tools}
          onValue={(tools) => onForm({ ...form, tools })}
          hint="Optional: a JSON array, as in OpenAI’s API."
          wrong={wrong?.field === 'tools' ? wrong.message : undefined}
        />
        <Select
          label="tool_choice"
          value={form.toolChoice}
          onValue={(toolChoice) => onForm({ ...form, toolChoice })}
          options={toolChoices}
        />
        <label>
          <input
            type="checkbox"
            checked={form.logprobs}
            onChange={(event) => onForm({ ...form, logprobs: event.currentTarget.checked })}
          />{' '}
          Log-probabilities on hover
        </label>
      </div>
    </details>
  )
}
