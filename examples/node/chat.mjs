// The official OpenAI client against Limbic: node chat.mjs [BASE_URL]
//
// A conversation with two swipes and an edit. The client only sends its messages, as to any other server; what became of each request
// in the conversation's tree comes back in `limbic`, and is printed as one JSON object a line.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] ?? "http://localhost:8080/v1", apiKey: process.env.LIMBIC_KEY ?? "none" });

const persona = { role: "system", content: "You are Mira, who keeps a lighthouse. You talk in short, plain lines." };
const user = (content) => ({ role: "user", content });
const assistant = (content) => ({ role: "assistant", content });

const print = (step, reply, limbic) =>
  console.log(
    JSON.stringify({
      step,
      reply,
      session_id: limbic.session_id,
      turn_id: limbic.turn_id,
      reply_turn_id: limbic.reply_turn_id,
      affect: limbic.affect.status,
      levels: Object.fromEntries(limbic.state.levels.map(({ name, value }) => [name, value])),
    }),
  );

async function whole(step, ...messages) {
  const completion = await client.chat.completions.create({ model: "limbic", messages: [persona, ...messages] });
  const reply = completion.choices[0].message.content;
  print(step, reply, completion.limbic);
  return reply;
}

async function streamed(step, ...messages) {
  const stream = await client.chat.completions.create({
    model: "limbic",
    messages: [persona, ...messages],
    stream: true,
    stream_options: { include_usage: true },
  });
  let reply = "";
  let limbic;
  for await (const chunk of stream) {
    reply += chunk.choices[0]?.delta?.content ?? "";
    // The first chunk says what was felt, the last one adds what the turn did.
    limbic = chunk.limbic ?? limbic;
  }
  print(step, reply, limbic);
  return reply;
}

const models = await client.models.list();
console.log(JSON.stringify({ step: "models", models: models.data.map(({ id }) => id) }));

const hello = user("I walked all the way up to see you.");
const first = await whole("first", hello);

const question = user("Are you glad that I came?");
await streamed("second", hello, assistant(first), question);
await streamed("swipe", hello, assistant(first), question);
const kept = await whole("swipe again", hello, assistant(first), question);

await streamed("third", hello, assistant(first), question, assistant(kept), user("Then I will stay a while."));
await whole("edit", hello, assistant(first), user("You do not look glad that I came."));

const refused = await client.chat.completions
  .create({ model: "limbic", messages: [hello], n: 2 })
  .catch((error) => error);
console.log(JSON.stringify({ step: "refused", status: refused.status, param: refused.param, type: refused.type }));
