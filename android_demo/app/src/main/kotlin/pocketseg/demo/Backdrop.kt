package pocketseg.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.LinearGradient
import android.graphics.Paint
import android.graphics.Path
import android.graphics.RadialGradient
import android.graphics.Shader
import pocketseg.live.Background
import pocketseg.pixels.Size
import java.util.Random
import kotlin.math.sin

/** The backgrounds that come with the app, drawn by itself; [OWN] is a picture of the person's. */
enum class Backdrop {
    STUDIO, DAWN, SEA, LIGHTS, HILLS, OWN;

    /** Opaque, [width] by [height] pixels. */
    fun draw(width: Int, height: Int): Bitmap {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(bitmap)
        val (w, h) = width.toFloat() to height.toFloat()
        val paint = Paint(Paint.ANTI_ALIAS_FLAG or Paint.DITHER_FLAG)

        fun down(vararg colours: Int, from: Float = 0f, until: Float = 1f) =
            LinearGradient(0f, from * h, 0f, until * h, colours, null, Shader.TileMode.CLAMP)

        fun fill(shader: Shader) = canvas.drawRect(0f, 0f, w, h, paint.apply { this.shader = shader })
        when (this) {
            OWN -> fill(down(0xFF8A9490.toInt(), 0xFF8A9490.toInt()))
            STUDIO -> {
                val colours = intArrayOf(0xFFE9E4DC.toInt(), 0xFFB3AAA0.toInt(), 0xFF5E5852.toInt())
                fill(RadialGradient(0.5f * w, 0.36f * h, 0.85f * maxOf(w, h), colours, floatArrayOf(0f, 0.45f, 1f), Shader.TileMode.CLAMP))
            }
            DAWN -> fill(down(0xFF27336B.toInt(), 0xFF7A5590.toInt(), 0xFFE58B88.toInt(), 0xFFFFD9A0.toInt()))
            SEA -> {
                fill(down(0xFF6CB8EA.toInt(), 0xFFD9EFFA.toInt(), until = 0.58f))
                paint.shader = down(0xFF2E86B7.toInt(), 0xFF0B4A75.toInt(), from = 0.58f)
                canvas.drawRect(0f, 0.58f * h, w, h, paint)
                paint.shader = null
                val random = Random(5)
                for (i in 0 until 60) {
                    val depth = random.nextFloat()
                    val x = random.nextFloat() * w
                    val y = (0.59f + 0.4f * depth) * h
                    paint.color = ((20 + 40 * random.nextFloat()).toInt() shl 24) or 0xFFFFFF
                    canvas.drawOval(x - 0.2f * w * (0.2f + depth), y, x + 0.2f * w * (0.2f + depth), y + 0.006f * h * (0.4f + depth), paint)
                }
            }
            LIGHTS -> {
                fill(down(0xFF141A33.toInt(), 0xFF2A1F3F.toInt(), 0xFF120E1C.toInt()))
                val random = Random(11)
                val colours = intArrayOf(0xFFC46B, 0xFF8A5B, 0x7FB2FF, 0xF7E2B0, 0xD66BA0)
                for (i in 0 until 46) {
                    val radius = (0.02f + 0.05f * random.nextFloat()) * maxOf(w, h)
                    val (x, y) = random.nextFloat() * w to random.nextFloat() * h
                    val colour = colours[random.nextInt(colours.size)]
                    val alpha = 40 + random.nextInt(90)
                    val ring = intArrayOf((alpha shl 24) or colour, (alpha shl 24) or colour, colour)
                    paint.shader = RadialGradient(x, y, radius, ring, floatArrayOf(0f, 0.88f, 1f), Shader.TileMode.CLAMP)
                    canvas.drawCircle(x, y, radius, paint)
                }
            }
            HILLS -> {
                fill(down(0xFFBFE0F5.toInt(), 0xFFF6F3E4.toInt(), until = 0.6f))
                val greens = intArrayOf(0xFFA9C4B4.toInt(), 0xFF7FA98C.toInt(), 0xFF558A63.toInt(), 0xFF34683F.toInt())
                for ((i, green) in greens.withIndex()) {
                    val path = Path().apply { moveTo(0f, h) }
                    for (step in 0..40) {
                        val x = step / 40f
                        val ridge = 0.46f + 0.13f * i + 0.045f * sin(x * (5 + 2 * i) + 1.7f * i) + 0.02f * sin(x * 13 + i)
                        path.lineTo(x * w, ridge * h)
                    }
                    path.lineTo(w, h)
                    paint.shader = null
                    paint.color = green
                    canvas.drawPath(path, paint)
                }
            }
        }
        return bitmap
    }

    fun background(): Background {
        val bitmap = draw(WIDTH, HEIGHT)
        val pixels = IntArray(WIDTH * HEIGHT)
        bitmap.getPixels(pixels, 0, WIDTH, 0, 0, WIDTH, HEIGHT)
        bitmap.recycle()
        return Background(pixels, Size(WIDTH, HEIGHT))
    }

    private companion object {
        const val WIDTH = 1080
        const val HEIGHT = 1440
    }
}
