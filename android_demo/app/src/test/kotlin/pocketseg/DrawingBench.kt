package pocketseg

import android.opengl.GLES20
import org.json.JSONArray
import org.json.JSONObject
import pocketseg.demo.GlDrawing
import pocketseg.live.Background
import pocketseg.live.Effect
import pocketseg.live.Graphics
import pocketseg.live.Lane
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.live.Meter
import pocketseg.live.Percentiles
import pocketseg.live.Picture
import pocketseg.live.Pipeline
import pocketseg.live.Stage
import pocketseg.pixels.Box
import pocketseg.pixels.Grid
import pocketseg.pixels.Size
import pocketseg.pixels.sampleArgb
import java.io.File

/** Waits for OpenGL after each step, so that each has its own time. */
private class Finished(private val drawing: GlDrawing) : Graphics by drawing {
    override fun take(picture: Picture, crop: Box) = drawing.take(picture, crop).also { GLES20.glFinish() }

    override fun draw(look: Look, background: Background?, lanes: Array<Lane>) = drawing.draw(look, background, lanes).also { GLES20.glFinish() }
}

/** The milliseconds of a 1280x720 frame's stages, drawn by the CPU and by OpenGL, as JSON into the file that is named. */
fun main(arguments: Array<String>) {
    val size = Size(1280, 720)
    val name = Golden.portraitModel()
    val photo = Golden.pixels("models/$name/photo")
    val pixels = IntArray(size.pixels).also { Grid.resize(Golden.size("models/$name/photo"), size).sampleArgb(photo, it) }
    val frames = Latest {}
    FakeCamera(size = size, pixels = pixels).deliver(frames)
    val picture = frames.take()!!
    val behind = Background(pixels, size)
    val rows = JSONArray()

    fun measure(path: String, graphics: Graphics?, side: Int) {
        for (effect in listOf(Effect.BLUR, Effect.PICTURE)) {
            val meter = Meter()
            val pipeline = Pipeline(listOf(RecordedSegmenter(name)), meter, graphics, side)
            val whole = Percentiles()
            repeat(WARMUP + REPEATS) {
                if (it == WARMUP) meter.reset()
                val started = System.nanoTime()
                pipeline.render(picture, Look(effect), behind, 1.0)
                meter.end(Stage.DRAWING)
                meter.finish()
                if (it >= WARMUP) whole.add(System.nanoTime() - started)
            }
            val row = JSONObject().put("path", path).put("effect", effect.name.lowercase()).put("drawn", "${pipeline.size.width}x${pipeline.size.height}")
            for (stage in meter.report(0).stages) row.put("${stage.stage.name.lowercase()}_ms", stage.p50)
            rows.put(row.put("median_ms", whole.milliseconds(0.5)).put("p90_ms", whole.milliseconds(0.9)))
        }
    }
    measure("CPU", null, 640)
    measure("CPU", null, 1280)
    val renderer = Mesa.draw { drawing, mesa ->
        measure("OpenGL ES 3", Finished(drawing), 0)
        mesa.name
    }
    val found = JSONObject().put("frame", "1280x720").put("model", name).put("runs", REPEATS).put("renderer", renderer).put("rows", rows)
    File(arguments.single()).writeText(found.toString(1))
}

private const val WARMUP = 15
private const val REPEATS = 60
